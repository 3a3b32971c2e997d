module example.invalid/server
