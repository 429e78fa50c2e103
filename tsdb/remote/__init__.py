"""Other systems that samples are sent to and read from. So far: what the config file says about them."""
