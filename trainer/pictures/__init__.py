"""One image and its pixels: opened, cropped, compared with another, laid out on a sheet."""
