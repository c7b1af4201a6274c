"""What operators ask and do. The command line and the console only show it."""
