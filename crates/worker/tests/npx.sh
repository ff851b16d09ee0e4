#!/bin/sh
# Stands in for npx: notes what it was asked.
echo "$@" > asked
