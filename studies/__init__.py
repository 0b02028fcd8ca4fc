"""Runs a study: joins quality and cost, stores every trial, trains and exports the winner."""
