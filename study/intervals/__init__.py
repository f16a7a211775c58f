"""How sure a number is: intervals over seeds and images. Imports no other package of study."""
