"""Real Chromium for tests of pages: finding it, looking at a page, judging it. Skips in one line where it is missing."""
