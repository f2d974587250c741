"""Any mask to numbers: grams, zones, transmurality, segments; drawn or found alike."""
