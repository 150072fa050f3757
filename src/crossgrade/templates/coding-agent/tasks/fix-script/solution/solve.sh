sed -i '/^shift$/d' /app/total.sh
