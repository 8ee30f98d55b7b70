"""Stands in for the package by which code knows that it runs on Colab."""
