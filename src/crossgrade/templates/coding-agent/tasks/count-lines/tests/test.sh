#!/bin/bash
# The last line of a verifier writes the reward, from 0 to 1.
cd /app || exit 1
if test "$(tr -d "[:space:]" < answer.txt)" = 17; then reward=1; else reward=0; fi
echo "{\"reward\": $reward}" > /logs/verifier/reward.json
