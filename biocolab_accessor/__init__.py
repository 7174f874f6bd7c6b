"""adata.biocolab and df.biocolab: from a notebook to the BioTuring servers and back."""
