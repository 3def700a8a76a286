//! What several files mean together.
