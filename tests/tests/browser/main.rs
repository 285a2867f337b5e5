//! The pages in real headless Chromium.
