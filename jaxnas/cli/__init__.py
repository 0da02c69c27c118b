"""What the command lines share: the program `jaxnas`, its frame, options, the process around it."""
