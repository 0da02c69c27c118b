"""Tables on the disk: run directories, and files of architectures and measured values that users give."""
