"""Masks as polygons: `regions.py` traces them, `simplify.py` takes points out, `geojson.py` writes them down."""
