"""The steps of a delivery, one file each; which follows which is in `app.delivery.pipeline`."""
