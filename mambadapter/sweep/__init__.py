"""Many runs of the recipes: start what is missing, keep the results, sum them up."""
