#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs a program of the build as a GN action: its path comes relative to the output folder.
program=$1
shift
exec "./$program" "$@"
