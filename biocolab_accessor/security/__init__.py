"""Security of tokens and addresses: redaction, and one strict parser of URLs."""
