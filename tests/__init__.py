"""Tests: pure ones beside the packages they mirror, `system` ones against real servers."""
