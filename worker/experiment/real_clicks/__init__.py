"""What real users did: calibration, the bridge to a lift, doubly robust and canary estimates."""
