"""Large and georeferenced images, by windows: see docs/large-images.md. Needs rasterio (the extra `geo`)."""
