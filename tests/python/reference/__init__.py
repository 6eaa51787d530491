"""An independent computation of the funnel, for the tests alone."""
