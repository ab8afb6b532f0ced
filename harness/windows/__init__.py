"""Windows: the response budget of a step and the controller that moves it."""
