"""How much a system carries: brackets, the USL, knees, queues."""
