"""Averages of model folders, tensor by tensor, in bounded memory."""
