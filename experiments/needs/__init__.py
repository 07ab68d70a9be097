"""What a profile needs of this machine and of the hosts of published weights, looked for before anything runs."""
