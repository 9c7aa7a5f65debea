"""What `dlcv-bench` measured, for people and for other programs: tables, CSV, Markdown, and a page with plots."""
