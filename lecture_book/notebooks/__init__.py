"""From a chapter in MyST to an executed notebook."""
