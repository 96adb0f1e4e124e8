"""What `jobctl doctor` looks at, a room each: the machine, the home, jobd, the GPU. Each check stands alone."""
