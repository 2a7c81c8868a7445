//! Rules at their borders, against naive judges, and over a whole platform.
