"""What the notebooks draw with: looks, panels, figures and sentences. Statistics stand in `llm.evidence`."""
