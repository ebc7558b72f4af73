"""What people state of a project, and files keep as they stated it: consent and rights, and what testers report."""
