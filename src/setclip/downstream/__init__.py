"""What encoders of proteins are good for: fold, reaction, EC and GO, asked in several ways."""
