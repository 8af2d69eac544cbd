"""What several test folders share: a service to deploy, and control planes to deploy it with."""
