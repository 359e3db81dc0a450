"""Tests of Covey. A package, so that helpers are imported relatively; it is never shipped."""
