server = object()
