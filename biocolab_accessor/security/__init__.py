"""What keeps tokens and addresses safe: redaction, and one strict parser of URLs."""
