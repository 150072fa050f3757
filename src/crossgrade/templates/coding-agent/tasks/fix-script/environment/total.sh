#!/bin/sh
# Prints the sum of its arguments.
shift
total=0
for each in "$@"; do
    total=$((total + each))
done
echo "$total"
