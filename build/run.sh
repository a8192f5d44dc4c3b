#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs a program as a GN action: one of the build, whose path then comes relative to the output folder, or one of
# the host by its name.
program=$1
shift
case $program in
*/*) exec "$program" "$@" ;;
esac
if [ -x "./$program" ]; then
    exec "./$program" "$@"
fi
exec "$program" "$@"
