"""Questions of users about one replica, or about prefill and decode on different replicas, answered."""
