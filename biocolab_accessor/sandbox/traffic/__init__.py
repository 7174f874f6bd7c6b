"""What stands between the socket and the app: faults and the ledger."""
