#!/bin/bash
# The end of a verifier writes the reward, from 0 to 1. What it ran before may have put something in its place.
cd /app || exit 1
if test "$(tr -d "[:space:]" < answer.txt)" = 17; then reward=1; else reward=0; fi
chmod -R u+rwX /logs/verifier; rm -rf /logs/verifier; mkdir -p /logs/verifier
echo "{\"reward\": $reward}" > /logs/verifier/reward.json || exit 1
