#!/bin/sh
# A C compiler that compiles nothing: `cargo check` for another system links nothing, and only the build scripts of
# libraries written in C want one.
while [ $# -gt 0 ]; do
  case "$1" in
    -o) shift; : > "$1" ;;
  esac
  shift
done
