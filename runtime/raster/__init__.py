"""Large and georeferenced images as files, read by windows and written by strips. Needs rasterio (the extra `geo`)."""
