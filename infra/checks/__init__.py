"""What can be known of the Bicep without a compiler and without Azure: parsed, evaluated, held to tables of our own.

`python -m infra.checks` runs all of it. The Bicep compiler is not run: it is not to be had from any package registry
this project uses, so `az deployment group what-if` stays the first step of every deployment.
"""
