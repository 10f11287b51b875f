# SPDX-License-Identifier: GPL-2.0
"""Sphinx builds the documents by this; see the target `doc` of the Makefile."""

project = "pinfs"
extensions = ["myst_parser"]
nitpicky = True
html_theme = "alabaster"
html_theme_options = {"page_width": "70em", "description": "Long-term page pins on DAX files"}
html_show_copyright = False
html_copy_source = False
