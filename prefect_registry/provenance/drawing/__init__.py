"""Pictures of lineage graphs: Mermaid and DOT text, and SVG that needs nothing installed."""
