"""Raw AgiBot-World episodes: read, check, repair where it is provable, publish as LeRobot v3."""
