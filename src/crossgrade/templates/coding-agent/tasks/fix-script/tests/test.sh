#!/bin/bash
# The last line of a verifier writes the reward, from 0 to 1.
cd /app || exit 1
if [ "$(sh total.sh 2 4)" = 6 ] && [ "$(sh total.sh 5)" = 5 ] && [ "$(sh total.sh 1 2 3 6)" = 12 ]; then reward=1; else reward=0; fi
echo "{\"reward\": $reward}" > /logs/verifier/reward.json
